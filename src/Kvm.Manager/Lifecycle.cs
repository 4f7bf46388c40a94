using Kvm.Vmm;

namespace Kvm.Manager;

/// <summary>What a machine is doing.</summary>
public enum VmState
{
    /// <summary>It was made and never started.</summary>
    Created,

    /// <summary>Its worker builds it.</summary>
    Starting,

    /// <summary>Its guest runs.</summary>
    Running,

    /// <summary>Its guest stands still and goes on where it stopped.</summary>
    Paused,

    /// <summary>Its guest was asked to power off, or is being ended.</summary>
    Stopping,

    /// <summary>Its guest has ended as somebody meant it to.</summary>
    Stopped,

    /// <summary>Its guest, or the process that ran it, has failed.</summary>
    Crashed,

    /// <summary>Its guest is on disk and goes on from there when it is started.</summary>
    Saved,
}

/// <summary>The one table of what may follow what. Thread-safe: no state.</summary>
public static class Lifecycle
{
    /// <summary>Names of <see cref="VmState"/>, in order.</summary>
    public static IReadOnlyList<string> Names { get; } = ["created", "starting", "running", "paused", "stopping", "stopped", "crashed", "saved"];

    private static readonly (VmState From, VmState[] To)[] s_edges =
    [
        (VmState.Created, [VmState.Starting]),
        (VmState.Starting, [VmState.Running, VmState.Paused, VmState.Stopping, VmState.Stopped, VmState.Crashed]),
        (VmState.Running, [VmState.Paused, VmState.Stopping, VmState.Stopped, VmState.Crashed, VmState.Saved]),
        (VmState.Paused, [VmState.Running, VmState.Stopping, VmState.Stopped, VmState.Crashed, VmState.Saved]),
        (VmState.Stopping, [VmState.Stopped, VmState.Crashed, VmState.Saved]),
        (VmState.Stopped, [VmState.Starting]),
        (VmState.Crashed, [VmState.Starting, VmState.Stopped]),
        (VmState.Saved, [VmState.Starting, VmState.Stopped]),
    ];

    /// <summary>The name of a state, as in records, reports and messages.</summary>
    public static string NameOf(VmState state) => Names[(int)state];

    /// <summary>Whether a worker has the machine.</summary>
    public static bool IsActive(VmState state) => state is VmState.Starting or VmState.Running or VmState.Paused or VmState.Stopping;

    /// <summary>Whether one state may follow another.</summary>
    public static bool Allows(VmState from, VmState to) => Array.IndexOf(s_edges[(int)from].To, to) >= 0;

    /// <summary>Refuses what may not follow.</summary>
    /// <param name="name">The machine, for the message.</param>
    /// <param name="from">Its state.</param>
    /// <param name="to">The state that was asked for.</param>
    /// <exception cref="VmmException">KVM0601: it may not.</exception>
    public static void Check(string name, VmState from, VmState to)
    {
        if (!Allows(from, to))
            throw new VmmException(ManagerErrors.WrongState, $"{name} is {NameOf(from)}, and {NameOf(to)} cannot follow that");
    }
}
