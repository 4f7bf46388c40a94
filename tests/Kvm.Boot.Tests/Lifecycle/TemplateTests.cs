using Kvm.Interop;
using Kvm.Vmm;
using Kvm.Vmm.Network;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Snapshots.Templates;
using Kvm.Vmm.Storage;

namespace Kvm.Boot.Tests.Lifecycle;

/// <summary>Machines that go on from a template beside one another.</summary>
public sealed class TemplateTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-template").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private SnapshotStore Store => SnapshotStore.Open(Path.Combine(_folder, "store"));

    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("kvm")]
    public void Clones_go_on_from_one_state_and_do_not_see_each_other(string engine)
    {
        var (template, count) = Make(engine);
        using var _ = template;
        var clones = new VirtualMachine[3];
        for (int i = 0; i < clones.Length; i++)
            clones[i] = VirtualMachine.Restore(VirtualMachine.ConfigOf(template).Machine, new VmHost(), template, new RestoreOptions { IsClone = true });
        byte[][] generations = [.. clones.Select(clone => Bytes(clone, MachineLayout.GenerationId, 16))];
        generations.Select(Convert.ToHexString).Should().OnlyHaveUniqueItems();
        clones[0].Start();
        BareGuest.WaitUntilAbove(clones[0], count + 1000);
        BareGuest.Read(clones[1], BareGuest.Counter).Should().Be(count, "it has not been started");
        clones[1].Start();
        BareGuest.WaitUntilAbove(clones[1], count + 1000);
        BareGuest.Read(clones[2], BareGuest.Counter).Should().Be(count);
        clones[2].GuestResidentBytes.Should().BeLessThan(1 << 20, "it shares what it has not written");
        foreach (var clone in clones)
            clone.Dispose();
    }

    [SkippableFact]
    public void Memory_that_is_shared_with_other_processes_is_copied()
    {
        var (template, count) = Make("soft");
        using var _ = template;
        using var clone = VirtualMachine.Restore(VirtualMachine.ConfigOf(template).Machine with { SharedMemory = true }, new VmHost(), template);
        BareGuest.Read(clone, BareGuest.Counter).Should().Be(count);
    }

    [SkippableFact]
    public void Template_comes_from_the_process_that_holds_it_and_only_its_own()
    {
        var (template, _) = Make("soft");
        using (template)
        {
            using var holder = TemplateHolder.Open(template, _folder);
            var serving = new Thread(holder.Run) { IsBackground = true };
            serving.Start();
            using (var got = TemplateHolder.TryOpen(_folder, "one"))
            {
                got.Should().NotBeNull();
                (got!.Identity, got.MemoryBytes).Should().Be((template.Identity, 16UL << 20));
                got.Content.Should().BeEquivalentTo(template.Content, options => options.Excluding(c => c.Machine).Excluding(c => c.Records));
                got.Content.Records.Select(r => (r.Name, r.Version, Convert.ToHexString(r.Bytes.Span))).Should().Equal(template.Content.Records.Select(r => (r.Name, r.Version, Convert.ToHexString(r.Bytes.Span))));
            }

            FluentActions.Invoking(() => TemplateHolder.Open(template, _folder)).Should().Throw<VmmException>().Which.Error.Should().Be(RestoreErrors.NotHeld);
            TemplateHolder.TryEnd(_folder, "one").Should().BeTrue();
            serving.Join(TimeSpan.FromSeconds(60)).Should().BeTrue();
            TemplateHolder.TryOpen(_folder, "one").Should().BeNull();
            TemplateHolder.TryEnd(_folder, "one").Should().BeFalse();
        }
    }

    [SkippableFact]
    public void Files_that_are_no_templates_are_refused()
    {
        byte[] whole;
        var (template, _) = Make("soft");
        using (template)
        {
            using var reader = Store.Read("one");
            whole = new TemplateHead("one", reader.Identity, reader.Content, reader.Regions).Write();
        }

        TemplateHead.Read(whole).Should().NotBeNull();
        for (int length = 0; length < whole.Length; length += 1 + (length / 50))
            TemplateHead.Read(whole.AsSpan(0, length)).Should().BeNull("it is cut at {0}", length);
        var random = new Random(3);
        for (int i = 0; i < 2000; i++)
        {
            byte[] wrong = [.. whole];
            wrong[random.Next(Math.Min(400, wrong.Length))] ^= (byte)(1 << random.Next(8));
            FluentActions.Invoking(() => TemplateHead.Read(wrong)).Should().NotThrow();
        }

        Refused([]);
        Refused([0xff, 0xff, 0xff, 0x7f]);
        Refused([100, 0, 0, 0, .. new byte[100]]);
        // All of the head, and no memory behind it.
        Refused([.. BitConverter.GetBytes(whole.Length), .. whole]);

        static void Refused(byte[] content)
        {
            using var file = SealedFile.Create("none", Math.Max(4096, content.Length));
            file.Write(0, content);
            file.Seal();
            FluentActions.Invoking(() => Template.Open(file.Handle.Duplicate())).Should().Throw<VmmException>().Which.Error.Should().Be(RestoreErrors.BadState);
        }
    }

    [SkippableFact]
    public void Clone_has_name_cards_sockets_and_disks_of_its_own()
    {
        string disk = Path.Combine(_folder, "disk.img"), fixedDisk = Path.Combine(_folder, "fixed.img");
        foreach (string path in (ReadOnlySpan<string>)[disk, fixedDisk])
            File.WriteAllBytes(path, new byte[1 << 20]);
        using var guest = new BareGuest("soft", BareGuest.Count, c => c with
        {
            Name = "original",
            Disks = [new DiskConfig { Path = disk }, new DiskConfig { Path = fixedDisk, ReadOnly = true }],
            Networks = [new NetConfig { Kind = NetKind.None, Mac = new Kvm.Devices.Net.MacAddress(0x525400000001) }],
            Vsock = new Kvm.Vmm.Virtio.Sockets.VsockConfig { Cid = 3, SocketPath = Path.Combine(_folder, "v") },
        });
        guest.Machine.Start();
        guest.WaitUntilAbove(100);
        guest.Machine.TakeSnapshot(Store, "one");
        guest.Machine.Dispose();
        using var reader = Store.Read("one");
        var (settings, changes) = CloneIdentity.Make(VirtualMachine.ConfigOf(reader), reader.Content, "copy", Path.Combine(_folder, "copy"), _folder);
        var machine = settings.Machine;
        machine.Name.Should().Be("copy");
        machine.Networks[0].Mac.Should().NotBe(new Kvm.Devices.Net.MacAddress(0x525400000001));
        machine.Vsock!.Cid.Should().BeGreaterThan(2);
        machine.Vsock.SocketPath.Should().NotBe(Path.Combine(_folder, "v"));
        machine.Disks[0].Path.Should().Be(Path.Combine(_folder, "copy", "disk0.qcow2"));
        machine.Disks[1].Path.Should().Be(fixedDisk);
        changes.Select(change => change.What).Should().Contain(["name", "generation id", "net0", "disk0", "vsock"]);
        using (var clone = VirtualMachine.Restore(machine, new VmHost(), reader, new RestoreOptions { IsClone = true }))
        {
            clone.Start();
            BareGuest.WaitUntilAbove(clone, BareGuest.Read(clone, BareGuest.Counter));
        }

        File.AppendAllText(disk, new string('x', 512));
        FluentActions.Invoking(() => CloneIdentity.Make(VirtualMachine.ConfigOf(reader), reader.Content, "late", Path.Combine(_folder, "late"), _folder))
            .Should().Throw<VmmException>().Where(e => e.Error == RestoreErrors.Lacking && e.Message.Contains("generation"));
    }

    private static byte[] Bytes(VirtualMachine machine, ulong address, int count)
    {
        byte[] bytes = new byte[count];
        machine.Memory.TryRead(address, bytes).Should().BeTrue();
        return bytes;
    }

    private (Template Template, uint Count) Make(string engine)
    {
        using var guest = new BareGuest(engine, BareGuest.Count);
        guest.Machine.Start();
        guest.WaitUntilAbove(100);
        guest.Machine.Pause();
        guest.Machine.TakeSnapshot(Store, "one", new SnapshotTakeOptions { Purpose = SnapshotPurpose.Template });
        uint count = guest.Read(BareGuest.Counter);
        using var reader = Store.Read("one");
        return (Template.Make(reader, 1), count);
    }
}
