namespace Kvm.Devices.Block.Qcow2;

/// <summary>Why an image was refused.</summary>
public enum Qcow2Problem
{
    /// <summary>It contradicts itself or the format, or is cut short.</summary>
    Damaged,

    /// <summary>It uses something of the format that is not done here; the message names it.</summary>
    Unsupported,

    /// <summary>It names a backing file, and that may not be opened, or not so.</summary>
    BackingRefused,

    /// <summary>It may be read but not written: marked as corrupt, or in need of a repair.</summary>
    NotWritable,

    /// <summary>The host could not read or write the file.</summary>
    HostFailed,
}

/// <summary>An image cannot be opened, made or changed as a whole. The only exception of this namespace's that an image's bytes can cause.</summary>
public sealed class Qcow2Exception : Exception
{
    /// <summary>Makes one.</summary>
    /// <param name="problem">Why.</param>
    /// <param name="message">What is wrong and at which offset, in a clause without a full stop.</param>
    /// <param name="inner">What caused it, where something did.</param>
    public Qcow2Exception(Qcow2Problem problem, string message, Exception? inner = null) : base(message, inner) => Problem = problem;

    /// <summary>Why.</summary>
    public Qcow2Problem Problem { get; }

    internal static Qcow2Exception Damaged(string message) => new(Qcow2Problem.Damaged, message);

    internal static Qcow2Exception Host(string what) => new(Qcow2Problem.HostFailed, $"the host cannot {what}");
}
