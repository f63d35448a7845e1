"""What a Blender program does for the core: files in and out of a process of its own, which runs the extension."""
