"""`python -m chargesphere` is the command line."""

from chargesphere.cli import main

raise SystemExit(main())
