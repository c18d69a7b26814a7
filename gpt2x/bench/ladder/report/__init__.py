"""What people see of a ladder: text, charts, one HTML file, comparisons, and a page for each rung."""
