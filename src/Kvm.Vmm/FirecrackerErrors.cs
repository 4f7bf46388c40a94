namespace Kvm.Vmm;

/// <summary>The errors of <c>kvmsharp firecracker</c>, KVM0720–KVM0729.</summary>
public static class FirecrackerErrors
{
    /// <summary>A body's value is not what it should be.</summary>
    public static readonly ErrorInfo BadValue = Input("KVM0720", "the request has a wrong value",
        "The body is no JSON, lacks a member, or a value lies outside what Firecracker's API or this program allows.",
        "Change what the message names; docs/firecracker.md says what is taken.");

    /// <summary>Something of Firecracker's is not there.</summary>
    public static readonly ErrorInfo Unsupported = Input("KVM0721", "this part of Firecracker is not there",
        "The request asks for a device or a feature that this program does not have; nothing of it is done.",
        "Leave it out; docs/firecracker.md lists what is missing and what stands in its place.");

    /// <summary>The order of requests.</summary>
    public static readonly ErrorInfo NotNow = Input("KVM0722", "the microVM's state does not allow that",
        "What makes up a machine is configured before InstanceStart, other requests need one that was started, a snapshot one that is paused.",
        "Ask for the state: curl --unix-socket SOCKET http://localhost/");

    /// <summary>The two files of a snapshot.</summary>
    public static readonly ErrorInfo BadSnapshot = Input("KVM0723", "this is no snapshot of kvmsharp firecracker",
        "snapshot_path names a file that this program did not write (Firecracker's own snapshots are of another format), or its memory is not in the folder that mem_file_path names.",
        "Name both as they were given to /snapshot/create; the folder can be looked at with: kvmsharp snapshot ls --store FOLDER");

    /// <summary>A file for log or metrics.</summary>
    public static readonly ErrorInfo CannotLog = Input("KVM0724", "a file for logs or metrics cannot be written",
        "The folder does not exist or is not writable by this user, or the path names a folder.",
        "Check the folder and its permissions: ls -ld FOLDER");

    /// <summary>All of them.</summary>
    public static IReadOnlyList<ErrorInfo> All => [BadValue, Unsupported, NotNow, BadSnapshot, CannotLog];

    private static ErrorInfo Input(string id, string summary, string cause, string fix) => new(id, summary, cause, fix) { ExitCode = ExitCode.BadInput };
}
