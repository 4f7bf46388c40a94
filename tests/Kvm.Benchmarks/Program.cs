using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Diagnosers;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using Kvm.Benchmarks;

if (args is ["queue-rates", var path])
{
    QueueRates.Print(path);
    return;
}

if (args is ["observatory-rates"])
{
    ObservatoryRates.Print();
    return;
}

if (args is ["disk-rates", var folder])
{
    DiskRates.Print(folder);
    return;
}

if (args is ["snapshot-rates", var place])
{
    SnapshotRates.Print(place);
    return;
}

if (args is ["restore-rates", var restores, var program, var engine, var runs])
{
    RestoreRates.Print(restores, program, engine, int.Parse(runs, System.Globalization.CultureInfo.InvariantCulture));
    return;
}

if (args is ["agent-rates", var socket, var process])
{
    AgentRates.Print(socket, process);
    return;
}

if (args is ["api-rates", var apiSocket, var vm])
{
    ApiRates.Print(apiSocket, vm);
    return;
}

if (args is ["pool-fill", var pool, var poolFolder, var volumes])
{
    PoolFill.Make(pool, poolFolder, int.Parse(volumes, System.Globalization.CultureInfo.InvariantCulture));
    return;
}

if (args is ["warm-test-rates"])
{
    WarmTestRates.Print();
    return;
}

if (args is ["switch-rates"])
{
    SwitchRates.Print();
    return;
}

if (args is ["sched-rates"])
{
    SchedRates.Print();
    return;
}

if (args is ["sched-guests"])
{
    SchedGuests.Print();
    return;
}

// In this process: the build has its outputs in folders that BenchmarkDotNet's own builds would not find.
var config = DefaultConfig.Instance
    .AddJob(Job.ShortRun.WithToolchain(InProcessEmitToolchain.Instance))
    .AddDiagnoser(MemoryDiagnoser.Default);
BenchmarkSwitcher.FromAssembly(typeof(BusBenchmarks).Assembly).Run(args, config);
