"""The report: one HTML file that shows a segmented video without net or server.

`page` writes the file from the tracks and the video's frames. `summary` gathers what
is said about each track, `charts` draws it as SVG. page.html, page.css and page.js are
the page's frame; the browser draws the masks, so that tracks can be switched off.
"""
