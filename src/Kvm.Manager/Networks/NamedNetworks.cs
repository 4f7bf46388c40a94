using Kvm.Vmm.Configuration;

namespace Kvm.Manager.Networks;

/// <summary>Networks of the state folder as what machines' cards are at. Thread-safe, and between processes.</summary>
public static class NamedNetworks
{
    /// <summary>Whether a machine has a card at one.</summary>
    public static bool AreIn(RunSettings settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        return settings.Machine.Networks.Any(card => card.IsNetwork);
    }

    /// <summary>Starts the networks that a machine's cards are at, where they do not run, and finds their descriptions.</summary>
    /// <param name="settings">The machine.</param>
    /// <param name="options">Where networks are.</param>
    /// <param name="start">Starts those that do not run; a process that may start none finds them as they are.</param>
    /// <exception cref="Kvm.Vmm.VmmException">One is not there, or does not start.</exception>
    public static RunSettings Locate(RunSettings settings, ManagerOptions options, bool start = true)
    {
        ArgumentNullException.ThrowIfNull(settings);
        ArgumentNullException.ThrowIfNull(options);
        if (!AreIn(settings))
            return settings;
        var store = new NetworkStore(options);
        foreach (string name in !start ? [] : settings.Machine.Networks.Where(card => card.IsNetwork).Select(card => card.Name).Distinct())
            store.Ensure(name);
        return settings with { Machine = settings.Machine with { Networks = [.. settings.Machine.Networks.Select(card => card.IsNetwork ? card with { Model = store.ModelOf(card.Name) } : card)] } };
    }
}
