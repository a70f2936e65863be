"""What every process with pages shares: templates, styles, languages, charts, words, headers, the browser's modules."""
