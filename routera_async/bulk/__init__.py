"""Import many records from a file: rows in, proven outcomes out."""
