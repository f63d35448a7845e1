"""Files, errors and job states of the extension; runs without Blender."""
