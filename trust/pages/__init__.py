"""The pages that people read: templates, translations, styles, charts, and the routes that serve them."""
