using System.Diagnostics;
using System.Globalization;
using Kvm.Interop;
using Kvm.Vmm.Observation;
using Kvm.X86.Engine;

namespace Kvm.Benchmarks;

/// <summary>What counting adds to an exit, and what a trace that nobody takes adds to that (scripts/bench exits): nanoseconds, medians of several loops.</summary>
internal static class ObservatoryRates
{
    private const int Exits = 10_000_000;
    private const int Loops = 9;

    public static void Print()
    {
        var observatory = new ExitObservatory(0);
        // What vCPUs of the software engine call: the same counting, with a look whether somebody traces.
        IAccessObserver observer = observatory;
        var counted = new double[Loops];
        var looked = new double[Loops];
        for (int loop = -1; loop < Loops; loop++)
        {
            double count = Time(() => Count(observatory)), look = Time(() => Look(observer));
            // The first time the code is not what it will be.
            if (loop >= 0)
                (counted[loop], looked[loop]) = (count, look);
        }

        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"counted {Median(counted):0.00}"));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"looked {Median(looked):0.00}"));
    }

    private static void Count(ExitObservatory observatory)
    {
        for (int i = 0; i < Exits; i++)
        {
            observatory.Begin(KvmExit.Io, 0x3f8 + ((ulong)i & 7), (i & 1) != 0);
            observatory.End();
        }
    }

    private static void Look(IAccessObserver observer)
    {
        for (int i = 0; i < Exits; i++)
        {
            observer.Begin(true, 0x3f8 + ((ulong)i & 7), 1, (i & 1) != 0, 0);
            observer.End(0);
        }
    }

    private static double Time(Action work)
    {
        long start = Stopwatch.GetTimestamp();
        work();
        return Stopwatch.GetElapsedTime(start).TotalNanoseconds / Exits;
    }

    private static double Median(double[] values)
    {
        Array.Sort(values);
        return values[values.Length / 2];
    }
}
