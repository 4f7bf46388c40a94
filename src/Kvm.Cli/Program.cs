return Kvm.Cli.EntryPoint.Run(args);
