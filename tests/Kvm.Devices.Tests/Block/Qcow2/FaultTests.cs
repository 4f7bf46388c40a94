using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;

namespace Kvm.Devices.Tests.Block.Qcow2;

/// <summary>The host fails at any one call: that request fails at most, the image stays whole, and what was acknowledged stays readable.</summary>
public sealed class FaultTests
{
    private const int DiskSize = 256 << 10;

    [Theory]
    [InlineData(512, 64, HostFileError.NoSpace)]
    [InlineData(512, 64, HostFileError.Failed)]
    [InlineData(4096, 16, HostFileError.NoSpace)]
    [InlineData(4096, 16, HostFileError.Failed)]
    [InlineData(4096, 16, HostFileError.Unsupported)]
    public void Error_at_any_call_fails_a_request_at_most_and_leaves_the_image_checkable(int clusterSize, int refcountBits, HostFileError error)
    {
        int calls = Run(clusterSize, refcountBits, null, -1).Calls, step = Math.Max(1, calls / 250);
        for (int failing = 0; failing < calls; failing += step)
        {
            var file = Run(clusterSize, refcountBits, new HostFileResult(0, error), failing);
            var result = Qcow2Check.Run(new GrowingFile(file.ToArray()));
            result.Corruptions.Should().Be(0, $"call {failing} fails: {string.Join("; ", result.Messages.Take(3))}");
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(513)]
    public void Short_transfers_and_interruptions_at_every_call_lose_nothing(int most)
    {
        var file = new GrowingFile(Rig.Valid(512)) { Inject = (call, kind, bytes) => call % 3 == 0 ? new HostFileResult(0, HostFileError.Interrupted) : new HostFileResult(Math.Max(1, Math.Min(bytes, most + bytes / 2))) };
        byte[] wanted;
        using (var rig = new Rig())
        using (var image = Qcow2Image.Open(file, Rig.Open))
        {
            wanted = rig.Read(image, 0, 1 << 20);
            byte[] more = Rig.Pattern(77 * 512, 4);
            rig.Write(image, 0x30000 + 512, more).Should().Be(DiskResult.Done);
            more.CopyTo(wanted, 0x30000 + 512);
            image.Flush().Should().Be(DiskResult.Done);
            rig.Read(image, 0, 1 << 20).Should().Equal(wanted);
        }

        file.Inject = null;
        Qcow2Check.Run(file).IsClean.Should().BeTrue();
        using var reader = new Rig();
        using var again = Qcow2Image.Open(new GrowingFile(file.ToArray()), Rig.Open);
        reader.Read(again, 0, 1 << 20).Should().Equal(wanted);
    }

    [Fact]
    public void Disk_that_is_full_fails_writes_that_need_room_and_goes_on_with_those_that_do_not()
    {
        using var rig = new Rig();
        var file = new GrowingFile(Rig.Valid()) { MostBytes = 600 << 10 };
        using (var image = Qcow2Image.Open(file, Rig.Open))
        {
            int done = 0;
            while (rig.Write(image, 0x20000 + (ulong)done * 4096, Rig.Pattern(4096, done)) == DiskResult.Done)
                done++;
            done.Should().BeInRange(10, 200);
            rig.Write(image, 0, Rig.Pattern(4096, 8)).Should().Be(DiskResult.Done, "its cluster is there");
            rig.Read(image, 0, 4096).Should().Equal(Rig.Pattern(4096, 8));
            image.Discard(0x20000, 0x10000).Should().Be(DiskResult.Done);
            image.Flush().Should().Be(DiskResult.Done);
            rig.Write(image, 0xf0000, Rig.Pattern(4096, 9)).Should().Be(DiskResult.Done, "there is room again");
        }

        Qcow2Check.Run(file).Corruptions.Should().Be(0);
    }

    [Fact]
    public void Flush_that_fails_once_fails_ever_after()
    {
        using var rig = new Rig();
        bool fails = false;
        var file = new GrowingFile(Rig.Valid()) { Inject = (_, kind, _) => fails && kind == FileCall.Flush ? new HostFileResult(0, HostFileError.Failed) : null };
        using var image = Qcow2Image.Open(file, Rig.Open);
        rig.Write(image, 0x80000, Rig.Pattern(4096, 1)).Should().Be(DiskResult.Done);
        fails = true;
        image.Flush().Should().Be(DiskResult.Failed);
        fails = false;
        image.Flush().Should().Be(DiskResult.Failed);
    }

    [Fact]
    public void File_that_was_cut_while_open_fails_reads_of_what_is_gone_and_no_others()
    {
        using var rig = new Rig();
        var file = new GrowingFile(Rig.Valid());
        using var image = Qcow2Image.Open(file, Rig.Open with { ReadOnly = true });
        rig.Read(image, 0, 512);
        file.SetLength(40 << 10);
        rig.TryRead(image, 90 << 10, 4096, out _).Should().Be(DiskResult.Failed);
        rig.TryRead(image, 0x80000, 4096, out byte[] zeros).Should().Be(DiskResult.Done);
        zeros.Should().OnlyContain(b => b == 0);
    }

    /// <summary>Carries out the same requests, one call of which does what is said.</summary>
    private static GrowingFile Run(int clusterSize, int refcountBits, HostFileResult? fault, int failing)
    {
        var created = new GrowingFile();
        Rig.Create(created, DiskSize, clusterSize, refcountBits).Dispose();
        bool armed = false;
        int calls = 0;
        var file = new GrowingFile(created.ToArray()) { Inject = (_, _, _) => armed && calls++ == failing ? fault : null };
        using var rig = new Rig();
        using (var image = Qcow2Image.Open(file, Rig.Open))
        {
            armed = true;
            byte[] model = new byte[DiskSize];
            bool[] unsure = new bool[DiskSize / 512];
            var random = new Random(5);
            for (int i = 0; i < 60; i++)
            {
                int position = random.Next(DiskSize / 512) * 512, length = Math.Min(DiskSize - position, random.Next(1, 40) * 512);
                byte[] data = i % 3 == 0 ? new byte[length] : Rig.Pattern(length, i);
                var result = (i % 3) switch
                {
                    0 => image.WriteZeroes((ulong)position, (ulong)length, i % 2 == 0),
                    _ => rig.Write(image, (ulong)position, data),
                };
                data.CopyTo(model, position);
                unsure.AsSpan(position / 512, length / 512).Fill(result != DiskResult.Done);
                if (i % 7 == 0)
                    image.Flush();
            }

            armed = false;
            byte[] now = rig.Read(image, 0, DiskSize);
            for (int sector = 0; sector < unsure.Length; sector++)
            {
                if (!unsure[sector])
                    now.AsSpan(sector * 512, 512).SequenceEqual(model.AsSpan(sector * 512, 512)).Should().BeTrue($"sector {sector} was acknowledged, call {failing} failed");
            }
        }

        if (failing < 0)
            Qcow2Check.Run(new GrowingFile(file.ToArray())).IsClean.Should().BeTrue();
        return file;
    }
}
