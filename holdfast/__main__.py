"""`python -m holdfast`, which is also what `accelerate launch -m holdfast` starts."""

from holdfast.cli.app import main

main()
