"""`python -m autore_cli` is the `autore` command."""

from autore_cli.cli.app import main

if __name__ == "__main__":
    main()
