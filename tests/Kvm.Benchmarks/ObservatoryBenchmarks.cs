using BenchmarkDotNet.Attributes;
using Kvm.Interop;
using Kvm.Vmm.Observation;

namespace Kvm.Benchmarks;

/// <summary>What counting and timing add to an exit: less than 3 % of one (SPECIFICATION.md).</summary>
public class ObservatoryBenchmarks
{
    private readonly ExitObservatory _observatory = new(0);
    private uint _exit;

    [Benchmark]
    public void Port()
    {
        _observatory.Begin(KvmExit.Io, 0x3f8, true);
        _observatory.End();
    }

    /// <summary>A guest that goes through its serial port's registers.</summary>
    [Benchmark]
    public void Eight_ports()
    {
        _observatory.Begin(KvmExit.Io, 0x3f8 + (_exit++ & 7), (_exit & 1) != 0);
        _observatory.End();
    }

    /// <summary>A guest that never asks for the same address twice.</summary>
    [Benchmark]
    public void Ever_new_addresses()
    {
        _observatory.Begin(KvmExit.Mmio, 0xd000_0000 + ((ulong)_exit++ * 4), false);
        _observatory.End();
    }
}
