"""Run the command line as a module: `torchrun --nproc-per-node 2 -m cryoreg_cli pretrain ...`."""

from cryoreg_cli.main import main

if __name__ == "__main__":
    main()
