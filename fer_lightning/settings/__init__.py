"""From the command line to checked objects: settings, and what they make."""
