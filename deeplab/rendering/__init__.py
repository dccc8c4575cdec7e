"""Images, charts and pages for people: masks, overlays, SVG charts, HTML templates."""
