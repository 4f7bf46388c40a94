using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;
using Kvm.Vmm.Storage;

namespace Kvm.Vmm.Tests.Storage.Qcow2;

/// <summary>Which files an image may lead to: only those that the user allowed, that are files, and that nobody writes to.</summary>
public sealed class ChainTests : IDisposable
{
    private readonly ImageFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>Makes an image over another file, which need not be there.</summary>
    private string Over(string name, string below, string? format = "raw")
    {
        File.WriteAllBytes(_folder.PathOf(name), []);
        using (var image = Qcow2Creator.Create(HostFile.OpenNew(_folder.PathOf(name)),
            new Qcow2CreateOptions { Size = 1 << 20, Backing = new BackingFile(below, format ?? "raw") }, new Qcow2OpenOptions { WithoutBacking = true }))
            image.Info.Backing!.Name.Should().Be(below);
        if (format is null)
            Unsay(_folder.PathOf(name));
        return _folder.PathOf(name);
    }

    /// <summary>Takes the backing file's format out of the header: the first extension becomes one that nobody knows.</summary>
    private static void Unsay(string path)
    {
        byte[] bytes = File.ReadAllBytes(path);
        bytes.AsSpan(112, 4).ToArray().Should().Equal(0xe2, 0x79, 0x2a, 0xca);
        bytes[112] = 0x11;
        File.WriteAllBytes(path, bytes);
    }

    private static VmmException Refused(string path, bool backing = true)
    {
        var open = () => ImageFolder.Open(path, backing: backing).Dispose();
        return open.Should().Throw<VmmException>().Which;
    }

    [Fact]
    public void Backing_file_is_opened_only_where_it_is_allowed()
    {
        _folder.Raw("below", new byte[1 << 20]);
        string path = Over("a.qcow2", "below");
        var refused = Refused(path, backing: false);
        refused.Error.Should().Be(DiskErrors.BackingRefused);
        refused.Message.Should().Contain("was not allowed");
        ImageFolder.Open(path).Dispose();
    }

    [Fact]
    public void Relative_name_is_found_from_the_image_s_folder_and_an_absolute_one_anywhere()
    {
        byte[] content = new byte[1 << 20];
        content[5] = 7;
        Directory.CreateDirectory(_folder.PathOf("sub"));
        _folder.Raw("below", content);
        foreach (string name in (string[])["../below", _folder.PathOf("below"), "./../sub/../below"])
        {
            using var image = ImageFolder.Open(Over("sub/a.qcow2", name), readOnly: true);
            _folder.ReadAll(image).Should().Equal(content);
        }
    }

    [Fact]
    public void Symbolic_link_counts_as_what_it_leads_to()
    {
        _folder.Raw("below", new byte[1 << 20]);
        File.CreateSymbolicLink(_folder.PathOf("link"), "below");
        ImageFolder.Open(Over("a.qcow2", "link")).Dispose();
        File.CreateSymbolicLink(_folder.PathOf("device"), "/dev/zero");
        Refused(Over("b.qcow2", "device"));
        Refused(Over("c.qcow2", "/dev/zero"));
        Refused(Over("d.qcow2", "/proc/self/mem"));
        Refused(Over("e.qcow2", "nothing")).Error.Should().Be(DiskErrors.Unreadable);
        Refused(Over("f.qcow2", "/")).Error.Should().Be(DiskErrors.Unreadable);
    }

    [Fact]
    public void Image_that_is_based_on_itself_is_refused_by_whatever_name()
    {
        Refused(Over("a.qcow2", "a.qcow2", "qcow2")).Message.Should().Contain("comes back to");
        string b = Over("b.qcow2", "c.qcow2", "qcow2");
        Over("c.qcow2", "b.qcow2", "qcow2");
        var open = () => ImageFolder.Open(b, readOnly: true);
        open.Should().Throw<VmmException>().WithMessage("*comes back to*");
        string d = Over("d.qcow2", "link", "qcow2");
        File.CreateSymbolicLink(_folder.PathOf("link"), "d.qcow2");
        Refused(d).Message.Should().Contain("comes back to");
    }

    [Fact]
    public void Chain_is_at_most_32_files_long()
    {
        _folder.Raw("0.qcow2", File.ReadAllBytes(Plain("plain.qcow2")));
        for (int i = 1; i < 33; i++)
            Over($"{i}.qcow2", $"{i - 1}.qcow2", "qcow2");
        ImageFolder.Open(_folder.PathOf("31.qcow2"), readOnly: true).Dispose();
        var open = () => ImageFolder.Open(_folder.PathOf("32.qcow2"), readOnly: true);
        open.Should().Throw<VmmException>().WithMessage("*longer than 32*");
    }

    [Fact]
    public void Format_of_a_backing_file_is_never_guessed_from_its_bytes()
    {
        byte[] image = File.ReadAllBytes(Plain("below"));
        // Said to be raw: the disk is the image's own bytes.
        using (var raw = ImageFolder.Open(Over("a.qcow2", "below"), readOnly: true))
            _folder.Read(raw, 0, 512).Should().Equal(image[..512]);
        Refused(Over("b.qcow2", "below", null)).Message.Should().Contain("does not say which format");
        Refused(Over("c.qcow2", "below", "vmdk")).Message.Should().Contain("raw and qcow2 are known");
        _folder.Raw("named.qcow2", image);
        using var named = ImageFolder.Open(Over("d.qcow2", "named.qcow2", null), readOnly: true);
        _folder.Read(named, 0, 512).Should().OnlyContain(b => b == 0);
    }

    [Fact]
    public void Raw_disk_into_which_a_guest_wrote_an_image_stays_raw()
    {
        byte[] image = File.ReadAllBytes(Over("a.qcow2", "/etc/passwd"));
        string path = _folder.Raw("disk.img", [.. image, .. new byte[1 << 20]]);
        DiskConfig.Parse(path, out var disk).Should().BeNull();
        var opened = DiskOpener.Open(disk with { AllowBacking = true });
        using (opened.Image)
        {
            opened.Image.Should().BeOfType<RawImage>();
            _folder.Read(opened.Image, 0, 512).Should().Equal(image[..512]);
        }
    }

    [Fact]
    public void Image_has_one_writer_and_a_backing_file_none_while_it_is_read()
    {
        string below = Plain("below.qcow2"), path = Over("a.qcow2", "below.qcow2", "qcow2"), other = Over("b.qcow2", "below.qcow2", "qcow2");
        using (ImageFolder.Open(path))
        {
            Refused(path).Error.Should().Be(DiskErrors.InUse);
            Refused(below).Error.Should().Be(DiskErrors.InUse);
            ImageFolder.Open(other).Dispose();
        }

        using (ImageFolder.Open(below))
            Refused(path).Error.Should().Be(DiskErrors.InUse);
        ImageFolder.Open(path).Dispose();
    }

    [Fact]
    public void File_that_is_no_image_is_refused_with_its_name()
    {
        var refused = Refused(_folder.Raw("x.img", new byte[4096]));
        refused.Error.Should().Be(DiskErrors.BadImage);
        refused.Message.Should().Contain("x.img").And.Contain("magic");
        refused.ExitCode.Should().Be(ExitCode.BadInput);
    }

    [Fact]
    public void Files_of_a_chain_that_is_refused_are_closed()
    {
        string below = _folder.Raw("below", new byte[1 << 20]), top = Over("top.qcow2", "bad.qcow2", "qcow2");
        Over("bad.qcow2", "below");
        byte[] bad = File.ReadAllBytes(_folder.PathOf("bad.qcow2"));
        bad[20] = 9;
        File.WriteAllBytes(_folder.PathOf("bad.qcow2"), bad);
        Refused(top);
        foreach (string path in (string[])[below, top, _folder.PathOf("bad.qcow2")])
            HostFile.OpenNew(path).Dispose(); // for writing, alone
    }

    private string Plain(string name)
    {
        using (_folder.Create(name, new Qcow2CreateOptions { Size = 1 << 20 }))
            return _folder.PathOf(name);
    }
}
