using Kvm.Vmm.Boot;
using static Kvm.Vmm.Tests.Boot.Loading;

namespace Kvm.Vmm.Tests.Boot;

/// <summary>What is not in the kernel file: memory, command line, initrd, and files that cannot be read.</summary>
public class BootInputTests
{
    private const ulong MiB = 1 << 20;

    private static byte[] Linux => new ElfBuilder(true) { Entry = 2 * MiB }.Load(2 * MiB, Pattern(1, 64)).LinuxNote().Build();

    private static byte[] Pvh => new ElfBuilder(true) { Entry = MiB }.Load(MiB, Pattern(1, 64)).Pvh(0x10_0000).Build();

    [Theory]
    [InlineData(4096ul, "KVM0116")]
    [InlineData(0xf_f000ul, "KVM0116")]
    [InlineData(MiB, "KVM0107")]
    [InlineData(2 * MiB, "KVM0107")]
    public void Tiny_memory_is_refused(ulong size, string id)
    {
        using var m = new TestMemory(size);
        FluentActions.Invoking(() => m.Load(Linux)).Should().Throw<LoadException>().Which.Error.Id.Should().Be(id);
    }

    [Fact]
    public void Memory_that_just_holds_the_kernel_is_enough()
    {
        using var m = new TestMemory(MiB + 4096);
        m.Load(Pvh).EntryPoint.Should().Be(MiB);
    }

    [Fact]
    public void A_command_line_may_be_as_long_as_the_kernel_takes_and_no_longer()
    {
        using var m = new TestMemory(16 * MiB);
        m.Load(Linux, new string('x', 2047));
        m.Text(MachineLayout.CommandLine).Should().HaveLength(2047);
        m.Refuse(Linux, LoadErrors.CommandLineTooLong, new string('x', 2048));
        m.Refuse(Linux, LoadErrors.CommandLineTooLong, new string('x', 100_000));
        m.Refuse(Linux, LoadErrors.CommandLineTooLong, new string('é', 1024)).Message.Should().Contain("2048 bytes");
        m.Load(Pvh, new string('x', 65_535));
        m.Refuse(Pvh, LoadErrors.CommandLineTooLong, new string('x', 65_536));
        m.Refuse(Pvh, LoadErrors.CommandLineTooLong, new string('x', 100_000));
    }

    [Fact]
    public void The_limit_of_a_bzImage_is_the_one_in_its_header()
    {
        using var m = new TestMemory(16 * MiB);
        var image = new BzImageBuilder { CommandLineMax = 300 }.Pack(Interop.Compression.CompressionFormat.Gzip, Linux);
        m.Load(image.Build(), new string('x', 300));
        m.Refuse(image.Build(), LoadErrors.CommandLineTooLong, new string('x', 301));
        image.CommandLineMax = uint.MaxValue;
        m.Refuse(image.Build(), LoadErrors.CommandLineTooLong, new string('x', 65_536));
    }

    [Fact]
    public void A_NUL_in_the_command_line_is_refused()
    {
        using var m = new TestMemory(16 * MiB);
        m.Refuse(Linux, LoadErrors.CommandLineNul, "a\0b").Message.Should().Contain("character 1");
    }

    [Fact]
    public void A_shorter_command_line_leaves_nothing_of_the_one_before()
    {
        using var m = new TestMemory(16 * MiB);
        m.Load(Linux, "a long command line");
        m.Load(Linux, "short");
        m.Text(MachineLayout.CommandLine).Should().Be("short");
        m.Load(Linux, "");
        m.Text(MachineLayout.CommandLine).Should().BeEmpty();
    }

    [Theory]
    [InlineData(14 * MiB)]
    [InlineData(16 * MiB)]
    [InlineData(64 * MiB)]
    public void An_initrd_larger_than_what_is_left_of_memory_is_refused(ulong size)
    {
        using var m = new TestMemory(16 * MiB);
        m.Refuse(Linux, LoadErrors.InitrdDoesNotFit, initrd: new byte[size]);
        m.Refuse(Pvh, LoadErrors.InitrdDoesNotFit, initrd: new byte[size + MiB]);
    }

    [Fact]
    public void An_initrd_that_fills_memory_to_the_page_above_the_kernel_is_taken()
    {
        using var m = new TestMemory(16 * MiB);
        var initrd = m.Load(Linux, initrd: new byte[(14 * MiB) - 4096]).Initrd!.Value;
        initrd.Should().Be(new AddressRange((2 * MiB) + 4096, (14 * MiB) - 4096));
    }

    [Fact]
    public void An_empty_initrd_is_refused()
    {
        using var m = new TestMemory(16 * MiB);
        m.Refuse(Linux, LoadErrors.InitrdEmpty, initrd: []);
    }

    [Fact]
    public void A_kernel_that_reaches_to_the_end_of_memory_leaves_no_room_for_an_initrd()
    {
        using var m = new TestMemory(16 * MiB);
        byte[] kernel = new ElfBuilder(true) { Entry = 2 * MiB }.Load(2 * MiB, [0xf4], memorySize: 14 * MiB).LinuxNote().Build();
        m.Refuse(kernel, LoadErrors.InitrdDoesNotFit, initrd: [1]);
    }

    [Fact]
    public void Files_that_cannot_be_read_are_explained()
    {
        string folder = Directory.CreateTempSubdirectory("kvmsharp-boot").FullName;
        try
        {
            Reason(Path.Combine(folder, "none")).Should().Contain("no such file");
            Reason(Path.Combine(folder, "none", "none")).Should().Contain("no such file");
            Reason(folder).Should().Contain("directory");
            Reason("a\0b").Should().Contain("NUL");
            string file = Path.Combine(folder, "file");
            File.WriteAllText(file, "x");
            Reason(Path.Combine(file, "below")).Should().Contain("not a directory");
            Reason(new string('n', 5000)).Should().Contain("errno");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        static string Reason(string path)
        {
            var e = FluentActions.Invoking(() => ImageSource.Open(path)).Should().Throw<LoadException>().Which;
            (e.Error, e.ExitCode).Should().Be((LoadErrors.Unreadable, ExitCode.BadInput));
            return e.Message;
        }
    }

    [SkippableFact]
    public void A_FIFO_that_nobody_writes_to_is_refused_without_waiting()
    {
        string path = Path.Combine(Path.GetTempPath(), $"kvmsharp-fifo-{Environment.ProcessId}");
        using (var mkfifo = System.Diagnostics.Process.Start("mkfifo", [path]))
            mkfifo.WaitForExit();
        Skip.IfNot(File.Exists(path), "mkfifo made no FIFO here");
        try
        {
            FluentActions.Invoking(() => ImageSource.Open(path)).Should().Throw<LoadException>().Which.Message.Should().Contain("not a regular file");
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void A_file_is_read_straight_into_guest_memory_and_noticed_if_it_shrinks()
    {
        string path = Path.GetTempFileName();
        try
        {
            using var m = new TestMemory(16 * MiB);
            File.WriteAllBytes(path, Linux);
            using (var file = ImageSource.Open(path))
            {
                file.Length.Should().Be((ulong)Linux.Length);
                KernelLoader.Load(new BootRequest { Kernel = file }, m.Memory, m.Layout).EntryPoint.Should().Be(2 * MiB);
                m.Bytes(2 * MiB, 64).Should().Equal(Pattern(1, 64));
                File.WriteAllBytes(path, Linux[..100]);
                FluentActions.Invoking(() => KernelLoader.Load(new BootRequest { Kernel = file }, m.Memory, m.Layout)).Should().Throw<LoadException>()
                    .Which.Message.Should().Contain("became shorter");
            }
        }
        finally
        {
            File.Delete(path);
        }
    }
}
