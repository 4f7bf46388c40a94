using System.Diagnostics;
using Kvm.Interop;

namespace Kvm.Vmm.Probing;

/// <summary>Finds out by tiny guests what this host's KVM does differently from the processor's manual.</summary>
internal static class HostProber
{
    private const uint MsrStar = 0xc000_0081;
    private const uint MsrLstar = 0xc000_0082;
    private const uint MsrFmask = 0xc000_0084;

    /// <summary>Runs all probes: some milliseconds on an interpreting KVM, under two on others.</summary>
    public static HostProfile Probe(KvmSystem system)
    {
        using var guest = new TinyGuest(system);
        return new HostProfile
        {
            Backend = KvmModules.BackendName(),
            SyscallBroken = IsSyscallBroken(guest),
            GivesUpOnInstructions = GivesUp(guest),
            NanosecondsPerKernelInstruction = MeasureKernelInstruction(guest),
        };
    }

    /// <summary>
    /// <c>syscall</c> from CPL 3 must load CS from STAR[47:32] with privilege 0 (SDM vol. 2, SYSCALL). The page at LSTAR may be
    /// executed by either level, so the code there can say what CS it finds.
    /// </summary>
    internal static bool IsSyscallBroken(TinyGuest guest)
    {
        const int target = 0x20;
        Span<byte> code = stackalloc byte[0x40];
        code.Fill(0x90);
        ReadOnlySpan<byte> atEntry = [0x0f, 0x05]; // syscall
        ReadOnlySpan<byte> atTarget = [0x8c, 0xc8, 0xe7, (byte)TinyGuest.DonePort]; // mov eax, cs; out DonePort, eax
        atEntry.CopyTo(code);
        atTarget.CopyTo(code[target..]);
        guest.Load(code, cpl: 3);
        guest.Vcpu.SetMsrs([
            new KvmMsrEntry(MsrStar, 0x0008UL << 32 | 0x0010UL << 48),
            new KvmMsrEntry(MsrLstar, TinyGuest.CodeAddress + target),
            new KvmMsrEntry(MsrFmask, 0),
        ]);
        return guest.Run(out uint cs) == TinyOutcome.Done && (cs & 3) != 0;
    }

    /// <summary>Runs a few instructions that kernels execute and that an incomplete emulator lacks.</summary>
    internal static bool GivesUp(TinyGuest guest)
    {
        ReadOnlySpan<byte> wait = [0x9b, 0xe7, (byte)TinyGuest.DonePort]; // fwait
        ReadOnlySpan<byte> count = [0xf3, 0x0f, 0xb8, 0xc1, 0xe7, (byte)TinyGuest.DonePort]; // popcnt eax, ecx
        guest.Load(wait);
        bool gaveUp = guest.Run(out _) == TinyOutcome.GaveUp;
        guest.Load(count);
        return gaveUp | guest.Run(out _) == TinyOutcome.GaveUp;
    }

    /// <summary>Times a loop of two instructions between two exits; the least of three runs, because the host may be busy.</summary>
    internal static double MeasureKernelInstruction(TinyGuest guest)
    {
        const int iterations = 1000;
        // mov ecx, iterations; out DonePort, eax; again: dec ecx; jnz again; out DonePort, eax
        ReadOnlySpan<byte> code =
        [
            0xb9, iterations & 0xff, iterations >> 8, 0, 0, 0xe7, (byte)TinyGuest.DonePort,
            0xff, 0xc9, 0x75, 0xfc, 0xe7, (byte)TinyGuest.DonePort,
        ];
        double least = double.MaxValue;
        for (int run = 0; run < 3; run++)
        {
            guest.Load(code);
            if (guest.Run(out _) != TinyOutcome.Done)
                return 0;
            long start = Stopwatch.GetTimestamp();
            if (guest.Run(out _) != TinyOutcome.Done)
                return 0;
            least = Math.Min(least, Stopwatch.GetElapsedTime(start).TotalNanoseconds / (2 * iterations));
        }

        return least;
    }
}
