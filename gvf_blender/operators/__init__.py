"""Operators: thin, scriptable doors to what the rest of the extension does."""

from . import animate, jobs, motion, render, settings, view

CLASSES = (
    *animate.CLASSES,
    *jobs.CLASSES,
    *motion.CLASSES,
    *render.CLASSES,
    *settings.CLASSES,
    *view.CLASSES,
)
