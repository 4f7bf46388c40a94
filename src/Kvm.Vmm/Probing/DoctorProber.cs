using System.Diagnostics;
using Kvm.Interop;

namespace Kvm.Vmm.Probing;

/// <summary>
/// Runs tiny guests and says what they found. Each probe has a thread and a time limit of its own: a KVM that never gives a guest
/// back must not keep the doctor.
/// </summary>
internal static class DoctorProber
{
    private const int ExitSamples = 500;
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(5);

    /// <summary>Runs all of them.</summary>
    public static DoctorProbes Probe(KvmSystem system) => new()
    {
        RealMode = Guarded<bool?>(() => RunsIn(system, CpuMode.Real)),
        ProtectedMode = Guarded<bool?>(() => RunsIn(system, CpuMode.Protected)),
        LongMode = Guarded<bool?>(() => RunsAt(system, privilege: 0)),
        UserMode = Guarded<bool?>(() => RunsAt(system, privilege: 3)),
        ExitMicroseconds = Guarded(() => MeasureExit(system)),
        Profile = Guarded(() => HostProber.Probe(system)),
    };

    /// <summary>The result of a probe, or null where it failed or did not come back.</summary>
    internal static T? Guarded<T>(Func<T?> probe, TimeSpan? limit = null)
    {
        var result = default(T);
        var thread = new Thread(() =>
        {
            try
            {
                result = probe();
            }
            catch (KvmException)
            {
                // A step that this KVM refuses: the probe has no result.
            }
        })
        {
            Name = "doctor-probe",
            IsBackground = true,
        };
        thread.Start();
        return thread.Join(limit ?? s_limit) ? result : default;
    }

    private static bool RunsIn(KvmSystem system, CpuMode mode)
    {
        using var guest = new ModeGuest(system, mode);
        return guest.Runs();
    }

    private static bool RunsAt(KvmSystem system, byte privilege)
    {
        // mov eax, 42; out DonePort, eax
        ReadOnlySpan<byte> code = [0xb8, 42, 0, 0, 0, 0xe7, (byte)TinyGuest.DonePort];
        using var guest = new TinyGuest(system);
        guest.Load(code, privilege);
        return guest.Run(out var value) == TinyOutcome.Done && value == 42;
    }

    private static double? MeasureExit(KvmSystem system)
    {
        // again: out DonePort, al; jmp again
        ReadOnlySpan<byte> code = [0xe6, (byte)TinyGuest.DonePort, 0xeb, 0xfc];
        using var guest = new TinyGuest(system);
        guest.Load(code);
        var samples = new double[ExitSamples];
        for (var i = 0; i < samples.Length; i++)
        {
            var start = Stopwatch.GetTimestamp();
            if (guest.Run(out _) != TinyOutcome.Done)
                return null;
            samples[i] = Stopwatch.GetElapsedTime(start).TotalMicroseconds;
        }

        // The median: what interrupts the host now and then is not the exit's cost.
        Array.Sort(samples);
        return samples[ExitSamples / 2];
    }
}
