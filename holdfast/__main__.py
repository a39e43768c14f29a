"""`python -m holdfast`, which is also what `torchrun -m holdfast` and `accelerate launch -m holdfast` start."""

from holdfast.cli.app import main

main()
