"""The local server around `gvf_core.pipeline`: HTTP on loopback in front, one worker process behind."""
