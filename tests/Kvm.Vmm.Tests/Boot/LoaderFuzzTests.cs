using System.Diagnostics;
using FsCheck;
using FsCheck.Fluent;
using Kvm.Interop.Compression;
using Kvm.Vmm.Boot;
using static Kvm.Vmm.Tests.Boot.Loading;

namespace Kvm.Vmm.Tests.Boot;

/// <summary>Mutated images: the typed error or success, nothing else, in bounded time and memory, and no byte outside RAM.</summary>
public class LoaderFuzzTests
{
    private const ulong MiB = 1 << 20;
    private const long AllocationLimit = 256 << 10;
    private static readonly TimeSpan TimeLimit = TimeSpan.FromSeconds(5);

    /// <summary>Values that header fields go wrong at.</summary>
    private static readonly byte[][] Interesting =
    [
        [0], [0xff], [0x7f], [0x80], [1], [0xff, 0xff], [0xff, 0x7f], [0, 0x80], [0xff, 0xff, 0xff, 0xff], [0, 0, 0, 0], [0, 0, 0, 0x80], [0xff, 0xff, 0xff, 0x7f],
        [0xf0, 0xff, 0xff, 0xff], [0, 0, 0x10, 0], [0, 0, 0, 1], BitConverter.GetBytes(ulong.MaxValue), BitConverter.GetBytes(0UL),
        BitConverter.GetBytes(ulong.MaxValue - 0xfff), BitConverter.GetBytes(1UL << 63), BitConverter.GetBytes(16 * MiB),
    ];

    public static TheoryData<string> Images => [.. s_images.Keys];

    private static readonly Dictionary<string, (byte[] File, int HeaderEnd)> s_images = new()
    {
        ["ELF64 Linux"] = (new ElfBuilder(true) { Entry = 2 * MiB }.Load(2 * MiB, Pattern(1, 200)).Load(3 * MiB, Pattern(2, 100), memorySize: 5000).LinuxNote().Build(), 340),
        ["ELF64 PVH"] = (new ElfBuilder(true) { Entry = MiB }.Load(MiB, Pattern(1, 200)).Note("GNU", 3, new byte[20]).Pvh(0x10_0000).Build(), 512),
        ["ELF32 PVH"] = (new ElfBuilder(false) { Entry = MiB }.Load(MiB, Pattern(1, 200)).Pvh(0x10_0000).Build(), 420),
        ["ELF32 Multiboot"] = (new ElfBuilder(false) { Entry = MiB }.Load(MiB, [.. Multiboot(3), .. Pattern(1, 20)]).Build(), 140),
        ["flat Multiboot"] = ([.. Multiboot(0x1_0000, 0x20_0000, 0x20_0000, 0, 0x20_4000, 0x20_0020), .. Pattern(1, 64)], 48),
        ["bzImage gzip"] = (BzImage(CompressionFormat.Gzip), 0x270),
        ["bzImage LZ4"] = (BzImage(CompressionFormat.Lz4Legacy), 0x270),
        ["bzImage zstd"] = (BzImage(CompressionFormat.Zstd), 0x270),
        ["bzImage xz"] = (BzImage(CompressionFormat.Xz), 0x270),
        ["bzImage plain"] = (new BzImageBuilder { Payload = new ElfBuilder(true) { Entry = 2 * MiB }.Load(2 * MiB, Pattern(1, 200)).Build() }.Build(), 0x270),
        ["bzImage 32-bit"] = (new BzImageBuilder { XLoadFlags = 0, Payload = [0x5d, 0, 0, .. Pattern(1, 200)] }.Build(), 0x270),
    };

    private static byte[] BzImage(CompressionFormat format) =>
        new BzImageBuilder { KernelVersion = "6.1" }.Pack(format, new ElfBuilder(true) { Entry = 2 * MiB }.Load(2 * MiB, Pattern(1, 200), memorySize: 4096).Build()).Build();

    private static byte[] Multiboot(uint flags, params uint[] rest) =>
        [.. new uint[] { 0x1badb002, flags, unchecked(0u - 0x1badb002u - flags) }.Concat(rest).SelectMany(BitConverter.GetBytes)];

    [Theory, MemberData(nameof(Images))]
    public void A_mutated_image_loads_or_is_refused_with_the_typed_error(string name)
    {
        var (file, headerEnd) = s_images[name];
        using var m = new TestMemory(16 * MiB);
        m.Load(file);

        // Three of four mutations hit headers, where a byte means something.
        var place = Gen.Frequency((3, Gen.Choose(0, Math.Min(headerEnd, file.Length) - 1)), (1, Gen.Choose(0, file.Length - 1)));
        var bytes = Gen.Frequency((1, Gen.Elements(Interesting)), (1, Gen.Choose(0, 255).Select(b => new[] { (byte)b })));
        var mutation = from at in place from value in bytes select (at, value);
        var mutations = Gen.Choose(1, 4).SelectMany(count => mutation.ArrayOf(count));
        var cases = from list in mutations from cut in Gen.Frequency((5, Gen.Constant(file.Length)), (1, Gen.Choose(0, file.Length))) select (list, cut);

        Check.One(Config.QuickThrowOnFailure.WithMaxTest(1500), Prop.ForAll(cases.ToArbitrary(), c =>
        {
            byte[] bad = [.. file];
            foreach (var (at, value) in c.list)
                value.AsSpan(0, Math.Min(value.Length, bad.Length - at)).CopyTo(bad.AsSpan(at));
            _ = LoadBounded(m, bad[..c.cut]);
        }));
    }

    [Fact]
    public void Random_bytes_are_refused()
    {
        using var m = new TestMemory(16 * MiB);
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(500), Prop.ForAll<byte[]>(bytes => !LoadBounded(m, bytes ?? [])));
    }

    /// <summary>Every byte of every header, one at a time, at its extremes.</summary>
    [Theory, MemberData(nameof(Images))]
    public void Every_header_field_at_every_extreme_loads_or_is_refused(string name)
    {
        var (file, headerEnd) = s_images[name];
        using var m = new TestMemory(16 * MiB);
        int loaded = 0, refused = 0;
        for (int at = 0; at < Math.Min(headerEnd, file.Length); at++)
        {
            foreach (byte[] value in (ReadOnlySpan<byte[]>)[[0], [0xff], [0x80], [0xff, 0xff, 0xff, 0xff], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]])
            {
                byte[] bad = [.. file];
                value.AsSpan(0, Math.Min(value.Length, bad.Length - at)).CopyTo(bad.AsSpan(at));
                if (LoadBounded(m, bad))
                    loaded++;
                else
                    refused++;
            }
        }

        loaded.Should().BePositive("most bytes of a header decide nothing");
        refused.Should().BePositive("others do");
    }

    private static bool LoadBounded(TestMemory m, byte[] image)
    {
        long allocated = GC.GetAllocatedBytesForCurrentThread();
        bool loaded = false;
        var clock = Stopwatch.StartNew();
        try
        {
            var kernel = m.Load(image, "quiet", [1, 2, 3]);
            kernel.State.Rip.Should().BeLessThan(1UL << 32);
            m.Memory.Contains(kernel.EntryPoint, 1).Should().BeTrue("the entry is in RAM");
            loaded = true;
        }
        catch (LoadException e)
        {
            e.ExitCode.Should().Be(ExitCode.BadInput);
            e.Message.Should().NotContain("\n");
        }

        clock.Elapsed.Should().BeLessThan(TimeLimit);
        (GC.GetAllocatedBytesForCurrentThread() - allocated).Should().BeLessThan(AllocationLimit);
        m.CheckCanaries();
        return loaded;
    }
}
