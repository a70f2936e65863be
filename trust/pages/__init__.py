"""What every process with pages shares: base templates, styles, languages, charts, words, headers, the browser's modules."""
