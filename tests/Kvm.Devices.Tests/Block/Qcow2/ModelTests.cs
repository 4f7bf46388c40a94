using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;

namespace Kvm.Devices.Tests.Block.Qcow2;

/// <summary>An image is an array of bytes, whatever is done to it and in whatever order.</summary>
public sealed class ModelTests
{
    private const int DiskSize = 1 << 20;

    [Theory]
    [InlineData(512, 16, 3)]
    [InlineData(512, 1, 3)]
    [InlineData(1024, 64, 3)]
    [InlineData(4096, 16, 2)]
    [InlineData(65536, 16, 3)]
    [InlineData(2 << 20, 2, 3)]
    public void Any_operations_leave_what_an_array_would_hold_and_a_clean_image(int clusterSize, int refcountBits, int version) =>
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(25), Prop.ForAll(
            Gen.Choose(0, int.MaxValue).ArrayOf(40).ToArbitrary(), steps => Run(clusterSize, refcountBits, version, steps)));

    private static bool Run(int clusterSize, int refcountBits, int version, int[] steps)
    {
        var file = new GrowingFile();
        byte[] below = Rig.Pattern(DiskSize / 3 / 512 * 512, 17);
        bool hasBacking = steps.Length % 2 == 0;
        byte[] model = new byte[DiskSize];
        if (hasBacking)
            below.CopyTo(model, 0);
        using var rig = new Rig();
        var image = Rig.Create(file, DiskSize, clusterSize, refcountBits, version, hasBacking ? new RawImage(new GrowingFile(below)) : null);
        for (int i = 0; i < steps.Length; i++)
            Step(rig, ref image, ref model, below, file, new Random(steps[i]));
        rig.Read(image, 0, model.Length).Should().Equal(model);
        image.Dispose();
        var result = Qcow2Check.Run(new GrowingFile(file.ToArray()));
        result.IsClean.Should().BeTrue(string.Join("; ", result.Messages.Take(4)));
        return true;
    }

    private static void Step(Rig rig, ref Qcow2Image image, ref byte[] model, byte[] below, GrowingFile file, Random random)
    {
        int position = random.Next(model.Length / 512) * 512, length = Math.Min(model.Length - position, random.Next(1, 300) * 512);
        switch (random.Next(12))
        {
            case < 5:
                byte[] data = Rig.Pattern(length, random.Next());
                rig.Write(image, (ulong)position, data).Should().Be(DiskResult.Done);
                data.CopyTo(model, position);
                break;
            case 5:
                rig.Read(image, (ulong)position, length).Should().Equal(model.AsSpan(position, length).ToArray());
                break;
            case 6:
                image.Discard((ulong)position, (ulong)length).Should().Be(DiskResult.Done);
                Discarded(rig, image, model, position, length);
                break;
            case 7 or 8:
                image.WriteZeroes((ulong)position, (ulong)length, random.Next(2) == 0).Should().Be(DiskResult.Done);
                model.AsSpan(position, length).Clear();
                break;
            case 9:
                image.Flush().Should().Be(DiskResult.Done);
                break;
            case 10:
                int size = random.Next(1, DiskSize / 512 + 100) * 512;
                image.Resize((ulong)size);
                Array.Resize(ref model, size);
                break;
            default:
                image.Dispose();
                byte[] content = file.ToArray();
                image = Reopened(file, content, below);
                break;
        }
    }

    private static Qcow2Image Reopened(GrowingFile file, byte[] content, byte[] below)
    {
        file.SetContent(content);
        return Qcow2Image.Open(file, Rig.Open with { OpenBacking = _ => new RawImage(new GrowingFile(below)) });
    }

    /// <summary>What is discarded reads as zeros or as before, each sector of it.</summary>
    private static void Discarded(Rig rig, Qcow2Image image, byte[] model, int position, int length)
    {
        byte[] now = rig.Read(image, (ulong)position, length);
        for (int at = 0; at < length; at += 512)
        {
            var sector = now.AsSpan(at, 512);
            (sector.IndexOfAnyExcept((byte)0) < 0 || sector.SequenceEqual(model.AsSpan(position + at, 512))).Should().BeTrue();
        }

        now.CopyTo(model, position);
    }
}
