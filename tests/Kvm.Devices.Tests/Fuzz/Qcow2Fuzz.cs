using System.Buffers.Binary;
using System.Diagnostics;
using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;
using Kvm.Devices.Tests.Block;
using Kvm.Devices.Tests.Block.Qcow2;

namespace Kvm.Devices.Tests.Fuzz;

/// <summary>
/// An image chosen by bytes: a valid one, a few of its bytes changed, then opened, read, written, checked and resized. Nothing may throw but the
/// typed exception at what is done to an image as a whole, take long, grow without bound, or touch the file below.
/// </summary>
internal static class Qcow2Fuzz
{
    public const string Name = "qcow2";

    /// <summary>No input takes longer, however slow the host: an endless loop does.</summary>
    private static readonly TimeSpan s_mostTime = TimeSpan.FromSeconds(20);

    private static readonly Lazy<byte[][]> s_images = new(() =>
        [Rig.Valid(), Rig.Valid(512, 1), Rig.Valid(4096, 16, 2), Rig.Valid(65536, 64), HostileImages.WithSnapshot(), HostileImages.WithCompressed()]);

    private static readonly byte[] s_below = Rig.Pattern(300 << 10, 21);

    /// <summary>Runs one input.</summary>
    /// <returns>What was wrong, or null; and where the run has been.</returns>
    public static (string? Wrong, int Signature) Execute(ReadOnlySpan<byte> bytes)
    {
        var input = new FuzzInput(bytes);
        var clock = Stopwatch.StartNew();
        var below = new GrowingFile(s_below) { IsReadOnly = true };
        var file = new GrowingFile(Image(ref input, out int form)) { MostBytes = 8 << 20, IsReadOnly = (form & 64) != 0 };
        var signature = new HashCode();
        signature.Add(form);
        try
        {
            Use(file, below, ref input, ref signature, clock);
            signature.Add(Checked(file, Qcow2Repair.None));
            if (!file.IsReadOnly)
                signature.Add(Checked(file, Qcow2Repair.All));
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            return (e.ToString(), 0);
        }

        if (clock.Elapsed >= s_mostTime)
            return ("it takes too long", 0);
        return (below.ToArray().AsSpan().SequenceEqual(s_below) ? null : "the file below was written", signature.ToHashCode());
    }

    private static byte[] Image(ref FuzzInput input, out int form)
    {
        form = input.U8();
        byte[] image = [.. s_images.Value[form % s_images.Value.Length]];
        int l2 = image.L2(), l1 = image.L1(), table = image.RefcountTable(), block = (int)image.Get64(table);
        ReadOnlySpan<int> tables = [0, 0, l1, l2, table, block, (int)image.Get64(64) % image.Length, 2000];
        if ((form & 32) != 0)
        {
            // A name, so that there is a file below.
            image.Set32(16, 5).Set64(8, 480);
            "below"u8.CopyTo(image.AsSpan(480));
        }

        for (int changes = input.U8() % 12; changes > 0; changes--)
        {
            byte where = input.U8();
            int at = Math.Min(image.Length - 8, tables[where % 8] + (input.U8() % 32 * (where < 128 ? 8 : 4)));
            ulong value = (input.U8() % 6) switch
            {
                0 => (ulong)tables[input.U8() % 8],
                1 => (uint)tables[input.U8() % 8] | Qcow2Format.Copied,
                2 => image.Get64(l2 + (input.U8() * 8 % image.ClusterSize())),
                3 => Qcow2Format.Compressed | input.U32(),
                4 => 1UL << (input.U8() & 63),
                _ => input.Number(),
            };
            if (where < 128)
                BinaryPrimitives.WriteUInt64BigEndian(image.AsSpan(at), value);
            else
                BinaryPrimitives.WriteUInt32BigEndian(image.AsSpan(at), (uint)value);
        }

        return (form & 128) != 0 ? image[..Math.Max(1, image.Length - (input.U16() * 8 % image.Length))] : image;
    }

    private static void Use(GrowingFile file, GrowingFile below, ref FuzzInput input, ref HashCode signature, Stopwatch clock)
    {
        Qcow2Image image;
        try
        {
            image = Qcow2Image.Open(file, Rig.Open with { OpenBacking = _ => new RawImage(below) });
        }
        catch (Qcow2Exception e)
        {
            signature.Add(e.Message.Split(' ')[0]);
            signature.Add(e.Problem);
            return;
        }

        using var rig = new Rig();
        using (image)
        {
            for (int steps = 0; steps < 40 && !input.IsEmpty && clock.Elapsed < s_mostTime; steps++)
                signature.Add(Step(rig, image, file, ref input));
        }
    }

    private static int Step(Rig rig, Qcow2Image image, GrowingFile file, ref FuzzInput input)
    {
        byte what = input.U8();
        if (what % 12 == 11)
            return Resized(image, (ulong)input.U32() * (what < 128 ? 512UL : 1 << 20));
        if (image.Length == 0)
            return 0;
        ulong sectors = image.Length / 512, at = (what < 32 ? input.Number() : input.U16()) % sectors;
        ulong count = Math.Min(1 + (ulong)(input.U16() % 2048), sectors - at), position = at * 512, length = count * 512;
        switch (what % 12)
        {
            case < 3:
                return (int)rig.TryRead(image, position, (int)length, out _);
            case < 6:
                return 8 + (int)rig.Write(image, position, Rig.Pattern((int)length, what));
            case 6:
                return 16 + (int)image.Discard(position, length);
            case 7:
                return 24 + (int)image.WriteZeroes(position, length, what > 128);
            case 8:
                return 32 + (int)image.Flush();
            case 9:
                return 40 + (int)image.TryMap(position, length, out var extent) + ((int)extent.Kind * 4);
            default:
                int fails = input.U8();
                file.Inject = fails < 64 ? (call, _, _) => call % (fails + 1) == 0 ? new HostFileResult(0, HostFileError.Failed) : null : null;
                return fails < 128 ? 60 : 64 + (int)rig.WriteCompressed(image, position / (uint)image.ClusterSize * (uint)image.ClusterSize, what);
        }
    }

    private static int Resized(Qcow2Image image, ulong size)
    {
        try
        {
            image.Resize(size);
            return 50;
        }
        catch (Qcow2Exception e)
        {
            return 51 + (int)e.Problem;
        }
    }

    private static int Checked(GrowingFile file, Qcow2Repair repair)
    {
        file.Inject = null;
        try
        {
            var result = Qcow2Check.Run(file, repair);
            return HashCode.Combine(Math.Min(result.Leaks, 2), Math.Min(result.Corruptions, 3), result.IsClean);
        }
        catch (Qcow2Exception e)
        {
            return (int)e.Problem;
        }
    }
}
