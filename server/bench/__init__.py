"""`gvf bench server`: the real server process over a real socket, with jobs that are made up."""
