namespace Kvm.Vmm.Configuration;

/// <summary>
/// A short reason for a failure of the file system that reads the same in every build: the texts of the class library
/// repeat paths and are left out of small builds.
/// </summary>
public static class HostFailureText
{
    private const int DiskFull = unchecked((int)0x80070070);
    private const int UnixNoSpace = 28;

    /// <summary>The reason in a few words, without the path.</summary>
    /// <param name="failure">What was caught.</param>
    public static string Of(Exception failure)
    {
        ArgumentNullException.ThrowIfNull(failure);
        return failure switch
        {
            FileNotFoundException => "no such file",
            DirectoryNotFoundException => "no such folder",
            UnauthorizedAccessException => "permission denied, or it is a folder",
            PathTooLongException => "the path is too long",
            ArgumentException or NotSupportedException => "not a usable path",
            IOException { HResult: DiskFull or UnixNoSpace } => "no space left on the device",
            _ => VisibleText.Escape(failure.Message),
        };
    }
}
