"""Where a holder's own data is, and how it is read: forms of files, kinds of columns, mappings, readers."""
