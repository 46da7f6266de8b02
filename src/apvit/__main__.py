"""`python -m apvit`: the command line where the script `apvit` is not on the path."""

from apvit.cli import main

main()
