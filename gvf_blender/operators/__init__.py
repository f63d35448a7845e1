"""Operators: thin, scriptable doors to what the rest of the extension does."""

from . import animate, drop, export, jobs, motion, render, settings, start_frame, view

CLASSES = (
    *animate.CLASSES,
    *drop.CLASSES,
    *export.CLASSES,
    *jobs.CLASSES,
    *motion.CLASSES,
    *render.CLASSES,
    *settings.CLASSES,
    *start_frame.CLASSES,
    *view.CLASSES,
)
