using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;

namespace Kvm.Devices.Tests.Block.Qcow2;

/// <summary>
/// The host may go down between any two calls, with any part of what was not flushed on its disk: the image is never corrupt, and what the guest flushed
/// is there.
/// </summary>
public sealed class CrashTests
{
    private const int DiskSize = 512 << 10;

    /// <summary>An operation of the guest's, and how many events of the file had happened before and after it.</summary>
    private sealed record Operation(int Position, int Length, bool IsFlush, int Before, int After, byte[] Content);

    [Theory]
    [InlineData(512, 16, false, 1)]
    [InlineData(4096, 16, false, 2)]
    [InlineData(4096, 1, true, 3)]
    [InlineData(512, 64, true, 4)]
    [InlineData(65536, 16, true, 5)]
    [InlineData(1024, 8, false, 6)]
    public void Crash_at_any_moment_corrupts_nothing_and_loses_nothing_that_was_flushed(int clusterSize, int refcountBits, bool hasBacking, int seed)
    {
        byte[] below = Rig.Pattern(DiskSize / 2, 99);
        var (start, file, operations) = Run(clusterSize, refcountBits, hasBacking ? below : null, seed);
        var random = new Random(seed);
        int step = Math.Max(1, file.Events.Count / 400);
        for (int events = 0; events <= file.Events.Count; events += step)
        {
            byte[] left = file.AfterCrash(start, events, random);
            var result = Qcow2Check.Run(new GrowingFile(left));
            result.Corruptions.Should().Be(0, $"after {events} of {file.Events.Count} events: {string.Join("; ", result.Messages.Take(3))}");
            Judge(left, hasBacking ? below : null, operations, events);
        }
    }

    [SkippableFact]
    public void Qemu_img_finds_no_corruption_after_a_crash_either()
    {
        QemuImg.SkipIfMissing();
        string path = Path.GetTempFileName();
        try
        {
            foreach (var (clusterSize, bits) in new[] { (512, 16), (4096, 64), (65536, 16) })
            {
                var (start, file, _) = Run(clusterSize, bits, null, clusterSize);
                var random = new Random(7);
                for (int i = 0; i < 12; i++)
                {
                    File.WriteAllBytes(path, file.AfterCrash(start, random.Next(file.Events.Count + 1), random));
                    var (code, text) = QemuImg.Check(path);
                    code.Should().BeOneOf([0, 3], text);
                }
            }
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>Random operations on a new image over a file that remembers.</summary>
    private static (byte[] Start, GrowingFile File, List<Operation> Operations) Run(int clusterSize, int refcountBits, byte[]? below, int seed)
    {
        var fresh = new GrowingFile();
        Rig.Create(fresh, DiskSize, clusterSize, refcountBits, 3, below is null ? null : new RawImage(new GrowingFile(below))).Dispose();
        // Old content of the host's, where new tables and clusters will be.
        byte[] start = [.. fresh.ToArray(), .. Rig.Pattern(1 << 20, 3)];
        var file = new GrowingFile(start) { Records = true };
        using var rig = new Rig();
        using var image = Qcow2Image.Open(file, Rig.Open with { OpenBacking = _ => new RawImage(new GrowingFile(below)) });
        byte[] model = new byte[DiskSize];
        below?.CopyTo(model, 0);
        var random = new Random(seed);
        var operations = new List<Operation>();
        for (int i = 0; i < 120; i++)
        {
            int position = random.Next(DiskSize / 512) * 512, length = Math.Min(DiskSize - position, random.Next(1, 64) * 512), before = file.Events.Count, kind = random.Next(10);
            var result = kind switch
            {
                < 5 => rig.Write(image, (ulong)position, Rig.Pattern(length, i)),
                < 7 => image.Flush(),
                7 => image.Discard((ulong)position, (ulong)length),
                _ => image.WriteZeroes((ulong)position, (ulong)length, mayUnmap: kind == 8),
            };
            result.Should().Be(DiskResult.Done);
            bool isFlush = kind is 5 or 6;
            // What a discard leaves is the image's to say, so it is asked.
            if (!isFlush)
                rig.Read(image, (ulong)position, length).CopyTo(model, position);
            operations.Add(new Operation(position, length, isFlush, before, file.Events.Count, [.. model]));
        }

        return (start, file, operations);
    }

    /// <summary>Sectors that nothing touched since the last flush that ended before the crash are as they were then.</summary>
    private static void Judge(byte[] left, byte[]? below, List<Operation> operations, int events)
    {
        int flush = operations.FindLastIndex(o => o.IsFlush && o.After <= events);
        if (flush < 0)
            return;
        bool[] touched = new bool[DiskSize / 512];
        foreach (var later in operations.Skip(flush + 1).Where(o => !o.IsFlush && o.Before <= events))
            touched.AsSpan(later.Position / 512, later.Length / 512).Fill(true);
        using var rig = new Rig();
        using var image = Qcow2Image.Open(new GrowingFile(left) { IsReadOnly = true }, Rig.Open with { OpenBacking = _ => new RawImage(new GrowingFile(below)) });
        byte[] now = rig.Read(image, 0, DiskSize), then = operations[flush].Content;
        for (int sector = 0; sector < touched.Length; sector++)
        {
            if (!touched[sector] && !now.AsSpan(sector * 512, 512).SequenceEqual(then.AsSpan(sector * 512, 512)))
                throw new InvalidOperationException($"sector {sector}, flushed by operation {flush}, is lost after {events} events");
        }
    }
}
