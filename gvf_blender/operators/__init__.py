"""Operators: thin, scriptable doors to what the rest of the extension does."""

from . import (
    animate,
    diagnose,
    drop,
    export,
    install_server,
    jobs,
    kept_jobs,
    motion,
    overlay,
    render,
    server,
    settings,
    start_frame,
    tracks,
    view,
    weights,
)

CLASSES = (
    *animate.CLASSES,
    *diagnose.CLASSES,
    *drop.CLASSES,
    *export.CLASSES,
    *install_server.CLASSES,
    *jobs.CLASSES,
    *kept_jobs.CLASSES,
    *motion.CLASSES,
    *overlay.CLASSES,
    *render.CLASSES,
    *server.CLASSES,
    *settings.CLASSES,
    *start_frame.CLASSES,
    *tracks.CLASSES,
    *view.CLASSES,
    *weights.CLASSES,
)
