"""`inferometer feedback import`: labels of a file, sent to a server."""
