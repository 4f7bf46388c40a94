using FsCheck;
using FsCheck.Fluent;

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

    public static Gen<Step[]> Sequence(int length) => One.ArrayOf(length);

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
                machine.Time.Advance(TimeSpan.FromTicks((long)(Value % (ulong)TimeSpan.TicksPerHour)));
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
