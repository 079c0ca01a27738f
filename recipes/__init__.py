"""How the default bundle is made. Not part of the installed package."""
