"""The lyric writer on a local page: an HTTP server for this machine alone, from the standard library.

`checks` says which requests are answered, `asking` what a listener may ask for, `singer` writes the songs of all
listeners, `page` is the one file of HTML, and `server` puts them together.
"""
