namespace Kvm.Devices.Snapshot;

/// <summary>Something whose state can be saved while it is stopped, and put back later, possibly in another process.</summary>
public interface IStateful
{
    /// <summary>Unique within a machine and stable between versions, such as <c>serial0</c>.</summary>
    string StateName { get; }

    /// <summary>Version of the record written by <see cref="Save"/>; raise it when a field is added.</summary>
    ushort StateVersion { get; }

    /// <summary>Writes the state. The device is stopped: nobody changes it meanwhile.</summary>
    void Save(StateWriter writer);

    /// <summary>
    /// Puts a saved state back. The record may be hostile: every field is checked, and on false the device is as it was.
    /// </summary>
    /// <param name="reader">The record's bytes.</param>
    /// <param name="version">The version it was written with, 1 to <see cref="StateVersion"/>.</param>
    bool TryRestore(ref StateReader reader, ushort version);
}
