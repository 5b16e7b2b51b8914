"""Run the command line as a module: `torchrun --nproc-per-node 2 -m cryoreg_cli pretrain ...`."""

import os
import sys

if __name__ == "__main__":
    if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:
        del sys.path[0]  # `python -m` puts the current folder there, and files that lie beside the data are no modules
    from cryoreg_cli.main import main

    main()
