"""The page of `movseg serve`.

`visits` does the work, `page` shows it with gradio, and `server` serves the page.
"""
