complete --keep-order --exclusive --command mymachines --arguments "(MYMACHINES_COMPLETE=fish mymachines -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
