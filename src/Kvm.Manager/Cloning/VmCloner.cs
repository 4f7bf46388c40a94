using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Snapshots.Templates;

namespace Kvm.Manager.Cloning;

/// <summary>Makes machines that go on from a snapshot when they are first started. Thread-safe, and between processes.</summary>
/// <param name="options">Where they are.</param>
public sealed class VmCloner(ManagerOptions options)
{
    private readonly VmManager _manager = new(options);

    /// <summary>Makes one.</summary>
    /// <param name="template">What it goes on from, in memory; stays the caller's.</param>
    /// <param name="name">Its name; null for one of the template's name and its id.</param>
    /// <param name="cancel">Ends the wait for its lock.</param>
    /// <exception cref="VmmException">KVM0602, KVM0603: the name; KVM0520: a disk has moved on since.</exception>
    public VmRecord Clone(Template template, string? name, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(template);
        string id = Guid.NewGuid().ToString("n");
        name = VmName.Check(name ?? $"{template.Name}-{id[..8]}");
        var settings = VirtualMachine.ConfigOf(template);
        var now = options.Time.GetUtcNow();
        var record = new VmRecord { Id = id, Name = name, Created = now, Since = now, Parents = [template.Identity], Config = VmRecord.ConfigOf(settings) };
        using (_manager.Store.Lock(name, cancel))
        {
            _manager.Store.Add(record);
            try
            {
                var (own, changes) = CloneIdentity.Make(settings, template.Content, name, Path.Combine(_manager.Store.FolderOf(name), "disks"), options.RuntimeFolder);
                record = record with { Config = VmRecord.ConfigOf(own.WithAbsolutePaths()), Origin = new VmOrigin(template.Name, template.Identity, changes) };
                _manager.Store.Write(record);
            }
            catch
            {
                _manager.Store.Remove(name);
                throw;
            }
        }

        _manager.Events.Tell(name, "created", $"clone of {template.Name}");
        return record;
    }

    /// <summary>Builds a machine that is started for the first time: from the template in memory, else from the store.</summary>
    /// <exception cref="VmmException">Neither is there any more, or the machine cannot be restored here.</exception>
    internal static VirtualMachine Restore(ManagerOptions options, VmOrigin origin, VmConfig config, VmHost host)
    {
        var how = new RestoreOptions { IsClone = true, Pager = options.Program };
        using (var template = TemplateHolder.TryOpen(options.RuntimeFolder, origin.Snapshot))
        {
            if (template?.Identity == origin.Identity)
                return VirtualMachine.Restore(config, host, template, how);
        }

        using var reader = SnapshotStore.Open(Kvm.Vmm.Host.Folders.SnapshotsOf(options.StateFolder)).Read(origin.Snapshot);
        return reader.Identity == origin.Identity
            ? VirtualMachine.Restore(config, host, reader, how)
            : throw new VmmException(SnapshotErrors.NotFound, $"{VisibleText.Quote(origin.Snapshot)} is another snapshot than the one this machine was made from");
    }
}

/// <summary>What a machine goes on from when it is started for the first time.</summary>
/// <param name="Snapshot">The snapshot's name.</param>
/// <param name="Identity">Its identity.</param>
/// <param name="Changes">What the machine has otherwise.</param>
public sealed record VmOrigin(string Snapshot, string Identity, IReadOnlyList<CloneChange> Changes);
