using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Platform;

namespace Kvm.Devices.Tests.Properties;

/// <summary>One thing a hostile guest, the host or time does to a device.</summary>
internal readonly record struct Step(StepKind Kind, ulong Offset, int Width, ulong Value)
{
    private static readonly Gen<ulong> Offsets = Gen.Frequency(
        (12, Gen.Choose(0, 24).Select(v => (ulong)v)),
        (1, Gen.Elements(255UL, 256UL, 0x7fff_ffffUL, 0x8000_0000UL, 0xffff_ffffUL, 1UL << 63, ulong.MaxValue - 7, ulong.MaxValue)));

    private static readonly Gen<ulong> Values = Gen.OneOf(
        Gen.Choose(0, 255).Select(v => (ulong)v),
        Gen.Elements(0UL, ulong.MaxValue, 0x8000_0000UL, 0x8000_0810UL, 0xfeUL, 0x3400UL),
        from high in Gen.Choose(int.MinValue, int.MaxValue) from low in Gen.Choose(int.MinValue, int.MaxValue) select unchecked((ulong)(uint)high << 32 | (uint)low));

    private static readonly Gen<Step> One =
        from kind in Gen.Frequency(
            (8, Gen.Constant(StepKind.Write)),
            (6, Gen.Constant(StepKind.Read)),
            (1, Gen.Constant(StepKind.Input)),
            (1, Gen.Constant(StepKind.Time)))
        from offset in Offsets
        from width in Gen.Choose(1, 8)
        from value in Values
        select new Step(kind, offset, width, value);

    // Accesses that change what others mean: found by chance too rarely to test the state they lead to. By device, in the order of Machine.
    private static readonly (ulong Offset, int Width, ulong[] Values)[][] Telling =
    [
        [(1, 1, [0x01, 0x02, 0x0f]), (2, 1, [0x01, 0x07, 0x81, 0xc1]), (3, 1, [0x03, 0x83]), (4, 1, [0x03, 0x0b, 0x10, 0x1a]), (0, 1, [0x41])],
        [(4, 1, [0x20, 0x60, 0xaa, 0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xfe]), (0, 1, [0x45, 0x65, 0x47])],
        [(0, 2, [0x020b, 0x820b, 0x720b, 0x060b, 0x260a, 0x2f0a, 0x760a, 0xff05, 0xff03, 0x0001, 0x9909]), (0, 1, [0x0c, 0x0a, 0x00, 0x04])],
        [(0, 2, [0x0101]), (2, 2, [0x0101, 0x0721]), (4, 2, [0x3400, 0x2400]), (14, 2, [0xffff]), (16, 1, [AcpiPm.ResetValue])],
        [(0, 4, [0, 5])],
        [(0, 1, [1, 2, 3])],
        [(0, 1, [1, 3])],
        [(0, 1, [0, 1, 3])],
        [(0, 1, [1])],
        [(0, 4, [0x8000_0000, 0x8000_0804, 0x8000_0810, 0x8000_0814, 0x8000_0818, 0x8000_083c]), (4, 4, [0x3, 0x7, 0xc000_0000, 0xffff_ffff, 0xc000]), (1, 1, [0x02, 0x06])],
        [(12, 2, [0x80, 0x86, 0x86, 0x100, 0x200]), (0, 4, [0, 7]), (4, 4, [0, 9]), (16, 2, [0, 0x04, 0x20]), (24, 1, [0, 2, 2, 6, 3])],
    ];

    /// <summary>Steps at a device: most of them anything, some the kind that leads somewhere.</summary>
    public static Gen<Step[]> Sequence(int device, int length)
    {
        var telling =
            from access in Gen.Elements(Telling[device])
            from value in Gen.Elements(access.Values)
            select new Step(StepKind.Write, access.Offset, access.Width, value);
        return Gen.Frequency((2, One), (1, telling)).ArrayOf(length);
    }

    /// <summary>Does it; gives what a read returned.</summary>
    public byte[] Do(Machine machine, int device)
    {
        byte[] data = BitConverter.GetBytes(Value)[..Width];
        switch (Kind)
        {
            case StepKind.Read:
                machine.Devices[device].Read(Offset, data);
                return data;
            case StepKind.Write:
                machine.Devices[device].Write(Offset, data);
                break;
            case StepKind.Input:
                return [(byte)machine.Serial.Receive(data)];
            default:
                var by = TimeSpan.FromTicks((long)(Value % (ulong)TimeSpan.TicksPerHour));
                // Host timers count whole milliseconds from when they are armed: one that is armed anew by a restore is to fire in the same step.
                machine.Time.Advance(machine.Devices[device] is Support.WatchdogBoard ? TimeSpan.FromMilliseconds(Math.Ceiling(by.TotalMilliseconds)) : by);
                break;
        }

        return [];
    }
}

internal enum StepKind
{
    Read,
    Write,
    Input,
    Time,
}
