"""The report: one HTML file that shows a segmented video without network or server.

`page` writes the file from the tracks and the video's frames. `summary` computes the
numbers of each track, and `charts` draws them as SVG. page.html, page.css and page.js
are the fixed parts of the page; the browser draws the masks, so that the reader can
switch tracks off. `html` is the shell of this page and of that of `movseg eval`.
"""
