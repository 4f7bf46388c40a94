using System.Buffers.Binary;
using System.Text;

namespace Kvm.Testing.Tests;

/// <summary>Kernels that have their drivers as modules.</summary>
public sealed class ModuleTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-modules").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [VmFact]
    public async Task The_stock_kernel_answers_and_has_the_modules_it_was_asked_for()
    {
        await using var guest = await Guest.StartAsync(new GuestOptions { Image = GuestImage.Stock, Modules = ["virtio-rng"] });
        (await guest.CheckAsync("cat", "/proc/modules")).Should().Contain("vmw_vsock_virtio_transport ").And.Contain("virtio_rng ");
        (await guest.CheckAsync("uname", "-r")).Should().Be(Path.GetFileName(GuestImage.Stock.ModulesPath), "the modules are of this kernel");
    }

    [VmFact]
    public async Task A_guest_that_cannot_load_a_module_says_which_and_ends()
    {
        string module = Module("mine", "");
        var failure = await FluentActions.Awaiting(() => Guest.StartAsync(new GuestOptions { Modules = [module] })).Should().ThrowAsync<GuestEndedException>();
        failure.Which.Message.Should().Contain("GUEST-FAILED insmod mine.ko");
    }

    [Fact]
    public void Each_module_comes_once_and_after_what_it_needs()
    {
        Module("a", "");
        Module("b-b", "a,built-in");
        Module("c", "b_b,d");
        Module("d", "c");
        File.WriteAllText(Path.Combine(_folder, "modules.builtin"), "kernel/lib/built-in.ko\n");
        string mine = Path.Combine(Directory.CreateDirectory(Path.Combine(_folder, "elsewhere")).FullName, "mine.ko");
        File.WriteAllBytes(mine, Elf("depends=c"));

        var files = KernelModules.FilesOf(_folder, ["a", mine, "b-b"]);

        files.Select(file => file.Path).Should().Equal("modules/a.ko", "modules/b_b.ko", "modules/d.ko", "modules/c.ko", "modules/mine.ko", "modules/load");
        Encoding.UTF8.GetString(files[^1].Content.Span).Should().Be("a.ko\nb_b.ko\nd.ko\nc.ko\nmine.ko\n");
    }

    [Fact]
    public void Without_modules_there_are_no_files() => KernelModules.FilesOf(null, []).Should().BeEmpty();

    [Fact]
    public void A_module_that_is_not_there_is_said_by_its_name()
    {
        FluentActions.Invoking(() => KernelModules.FilesOf(_folder, ["a"])).Should().Throw<GuestException>().WithMessage("*module a is not in*");
        FluentActions.Invoking(() => KernelModules.FilesOf(null, ["a"])).Should().Throw<GuestException>().WithMessage("*ModulesPath*");
        FluentActions.Invoking(() => KernelModules.FilesOf(null, ["/no/such.ko"])).Should().Throw<GuestException>().WithMessage("*/no/such.ko*");
    }

    [Fact]
    public void A_file_that_is_cut_anywhere_is_a_module_or_an_error_that_names_it()
    {
        byte[] whole = Elf("license=GPL\0depends=a,b\0");
        KernelModules.NeedsOf(whole).Should().Equal("a", "b");
        for (int length = 0; length < whole.Length; length++)
            FluentActions.Invoking(() => KernelModules.NeedsOf(whole.AsSpan(0, length))).Should().Throw<InvalidDataException>();
    }

    [Fact]
    public void A_file_with_any_byte_changed_is_a_module_or_an_error_that_names_it()
    {
        byte[] whole = Elf("depends=a");
        for (int i = 0; i < whole.Length; i++)
        {
            byte[] changed = [.. whole];
            changed[i] ^= 0xff;
            try
            {
                KernelModules.NeedsOf(changed).Length.Should().BeLessThanOrEqualTo(1);
            }
            catch (InvalidDataException e)
            {
                e.Message.Should().StartWith("it ");
            }
        }
    }

    private string Module(string name, string needs)
    {
        string path = Path.Combine(_folder, name + ".ko");
        File.WriteAllBytes(path, Elf($"license=GPL\0depends={needs}\0"));
        return path;
    }

    /// <summary>A file with the two sections that matter: what the module says of itself, and the sections' names. Their headers come last.</summary>
    private static byte[] Elf(string information)
    {
        byte[] names = "\0.modinfo\0.shstrtab\0"u8.ToArray(), said = Encoding.UTF8.GetBytes(information);
        byte[] elf = new byte[64 + names.Length + said.Length + 3 * 64];
        "\u007fELF\u0002\u0001\u0001"u8.CopyTo(elf);
        int table = 64 + names.Length + said.Length;
        BinaryPrimitives.WriteUInt64LittleEndian(elf.AsSpan(0x28), (ulong)table);
        BinaryPrimitives.WriteUInt16LittleEndian(elf.AsSpan(0x3a), 64);
        BinaryPrimitives.WriteUInt16LittleEndian(elf.AsSpan(0x3c), 3);
        BinaryPrimitives.WriteUInt16LittleEndian(elf.AsSpan(0x3e), 2);
        names.CopyTo(elf, 64);
        said.CopyTo(elf, 64 + names.Length);
        Section(elf.AsSpan(table + 64), 1, 64 + names.Length, said.Length);
        Section(elf.AsSpan(table + 128), 10, 64, names.Length);
        return elf;

        static void Section(Span<byte> header, uint name, int offset, int size)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(header, name);
            BinaryPrimitives.WriteUInt64LittleEndian(header[0x18..], (ulong)offset);
            BinaryPrimitives.WriteUInt64LittleEndian(header[0x20..], (ulong)size);
        }
    }
}
