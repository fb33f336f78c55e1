from alexnet_zoo.cli import main

main()
